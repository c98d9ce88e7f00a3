"""Under which heading ``lineside --help`` lists a command."""

RUN = "Run"
CONNECT = "Connect"
LEARN = "Learn"
OVERSEE = "Oversee"
