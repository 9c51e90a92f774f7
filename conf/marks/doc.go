// Package marks holds the request marks that application servers make for `tidegate agent`, one folder per kind of
// application; the binary carries them, so that it can install them.
//
// A mark is an empty file in a directory of its application, on tmpfs:
//
//	b.PID.START.SEQ   process PID is working on a request; gone when the response body is closed or the script has ended
//	w.PID.START       process PID has imported the application and can serve; one that works on a request may be without
//
// PID is the process id in decimal, START the process's start time in clock ticks since boot (field 22 of
// /proc/PID/stat), SEQ a number that the process uses once. No number has a sign or a leading zero. A process removes only
// its own marks; what a killed process leaves behind is the agent's to remove. A mark that cannot be made is left out: it
// never fails a request. The agent must see the same process ids as the application (the same pid namespace).
package marks
