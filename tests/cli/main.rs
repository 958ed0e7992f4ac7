//! Tests of the program itself that need no daemon: arguments, messages, exit statuses, generated files.
