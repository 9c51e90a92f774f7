package systemd

import (
	"bufio"
	"io"
	"net"
	"strings"

	"github.com/godbus/dbus/v5"
)

func authenticated(c net.Conn) (*dbus.Conn, error) {
	conn, err := dbus.NewConn(c)
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal("0")}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// bridge accepts whoever authenticates on both ends (the D-Bus specification, "Authentication Protocol").
func bridge(a, b net.Conn) {
	accept := func(c net.Conn) (*bufio.Reader, error) {
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return nil, err
			}
			answer := "REJECTED EXTERNAL\r\n"
			switch fields := strings.Fields(strings.TrimLeft(line, "\x00")); {
			case len(fields) > 0 && fields[0] == "BEGIN":
				return in, nil
			case len(fields) > 1:
				answer = "OK 0123456789abcdef0123456789abcdef\r\n"
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return nil, err
			}
		}
	}
	defer a.Close()
	defer b.Close()
	inA, err := accept(a)
	if err != nil {
		return
	}
	inB, err := accept(b)
	if err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(a, inB)
		_ = a.Close()
	}()
	_, _ = io.Copy(b, inA)
	_ = b.Close()
	<-done
}
