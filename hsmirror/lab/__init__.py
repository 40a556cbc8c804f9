"""The built-in lab: made-up but lifelike data, the documented limits, and faults on request."""
