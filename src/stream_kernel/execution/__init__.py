"""Running a program on a supervisor."""
