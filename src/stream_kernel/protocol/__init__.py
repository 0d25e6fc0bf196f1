"""The wire: messages, their bytes, their order, and what payloads may be. No I/O, no clock, no threads, no logging."""
