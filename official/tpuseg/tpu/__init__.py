"""Memory and time that a program needs on a TPU, estimated with the TPU's compiler on a machine without a TPU."""
