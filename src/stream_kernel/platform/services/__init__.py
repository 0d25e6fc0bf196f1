"""The supervisors and the reply waiter."""
