package haproxy

import "testing"

// HAProxy asks for no password over TCP: another machine's socket takes a word of consent.
func TestAnotherMachinesSocketTakesConsent(t *testing.T) {
	const addr = "10.0.0.2:9999"
	if _, err := New(Options{Addr: addr}); err == nil {
		t.Error("accepted without consent")
	}
	c, err := New(Options{Addr: addr, Remote: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := New(Options{Addr: "lb2.example:9999", Remote: true}); err == nil {
		t.Error("a name was accepted: nobody resolves it")
	}
}
