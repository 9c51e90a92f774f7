package main

import (
	"bytes"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// What is compared runs on processors of its own, everything else on the others, and afterwards all is as it was.
func TestSeats(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	threads := runtime.GOMAXPROCS(0)
	for _, free := range []bool{false, true} {
		s, err := shareOut(free, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.take(); err != nil {
			t.Fatal(err)
		}
		compared, other := exec.Command("grep", "Cpus_allowed:", "/proc/self/status"), exec.Command("grep", "Cpus_allowed:", "/proc/self/status")
		var own, rest bytes.Buffer
		compared.Stdout, other.Stdout = &own, &rest
		if err := firstOf(s.start(compared), compared.Wait(), other.Run()); err != nil {
			t.Fatal(err)
		}
		if err := s.leave(); err != nil {
			t.Fatal(err)
		}
		if apart := own.String() != rest.String(); apart == free && all.Count() > 1 {
			t.Errorf("free %v: what is compared has %q, the others %q", free, own.String(), rest.String())
		}
		var after unix.CPUSet
		if err := unix.SchedGetaffinity(0, &after); err != nil || after != all || runtime.GOMAXPROCS(0) != threads {
			t.Errorf("free %v: afterwards %v processors and %d threads, before %v and %d (%v)", free, after, runtime.GOMAXPROCS(0), all, threads, err)
		}
	}
	if s, err := shareOut(false, 99); err != nil || !s.free && (s.own.Count() != all.Count()-1 || s.rest.Count() != 1) {
		t.Errorf("of %d processors, 99 wanted: %d and %d, %v", all.Count(), s.own.Count(), s.rest.Count(), err)
	}
}
