package signals_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// The tests with real servers mostly wait; two at a time, one per CPU of a small machine, would make them slow.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
