"""What do all commands share? Flags, the experiment, the frame around a run, the console."""
