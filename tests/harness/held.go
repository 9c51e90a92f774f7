package harness

import (
	"io"
	"net"
)

// Held is a socket whose next n connections have been made to HAProxy now: they stay with the worker that there is, also after a
// reload.
func (h *HAProxy) Held(t TB, n int) (path string) {
	t.Helper()
	path = h.rig.Path(h.Name + "-held.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { ln.Close() })
	var held []net.Conn
	for range n {
		conn, err := net.Dial("unix", h.Socket)
		if err != nil {
			t.Fatalf("%v", err)
		}
		t.Cleanup(func() { conn.Close() })
		held = append(held, conn)
	}
	go func() {
		for _, far := range held {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(far, near) }()
			_, _ = io.Copy(near, far)
			near.Close()
			far.Close()
		}
	}()
	return path
}
