"""``sb.Brain`` subclasses."""
