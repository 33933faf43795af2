"""Small helpers without a subject of their own: messages, threads, the device."""
