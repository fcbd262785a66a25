"""What people see: a Panel app over `enms_core`. The core never imports it."""
