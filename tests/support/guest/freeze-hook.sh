#!/bin/sh
# The guest agent runs this before it freezes and after it has thawed.
case "$1" in
    freeze)
        # A program that takes its time before it lets the agent go on.
        [ -e /tmp/slow ] && sleep 4
        # An agent that hangs, and freezes when it is awake again.
        [ -e /tmp/deaf ] && rm /tmp/deaf && killall -STOP qemu-ga
        ;;
esac
exit 0
