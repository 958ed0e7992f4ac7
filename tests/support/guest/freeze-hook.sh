#!/bin/sh
# The guest agent runs this before it freezes and after it has thawed.
case "$1" in
    freeze)
        # A program that takes its time before it lets the agent go on.
        [ -e /tmp/slow ] && sleep 4
        # An agent that hangs as soon as all is frozen.
        [ -e /tmp/deaf ] && rm /tmp/deaf && ( sleep 1; killall -STOP qemu-ga ) >/dev/null 2>&1 &
        ;;
esac
exit 0
