"""What operators see of a call: its record and its log line."""
