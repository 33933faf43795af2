"""What a TPU will do with a program, asked of its compiler on a machine without one."""
