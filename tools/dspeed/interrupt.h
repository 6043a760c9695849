// Ctrl-C, SIGTERM and a terminal that is gone (SIGHUP) as a question that a loop can ask. The
// second one ends the program at once.
#pragma once

namespace ds::tool {

// Catches the next signal in place of dying of it.
void CatchInterrupts();
// ... and of a pipe that nobody reads any more, for a command that has work to save.
void CatchBrokenPipes();
// The signal that came, 0 while none did. Any thread.
int Interrupted();
// The work was ended before it was done.
void LeaveUnfinished();
// What a shell would say of a program that the signal ended, 128 and its number; 0: nothing was
// left.
int InterruptedStatus();

}  // namespace ds::tool
