package haproxy

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// oneCommand is what may ever go over the wire for a change.
var oneCommand = regexp.MustCompile(`^(set (server [A-Za-z0-9_.:-]+/[A-Za-z0-9_.:-]+ (weight ([0-9]{1,3})|state (ready|drain|maint)|health (up|down)|addr [0-9a-f.:]+ port [0-9]{1,5})|maxconn server [A-Za-z0-9_.:-]+/[A-Za-z0-9_.:-]+ [0-9]{1,7})` +
	`|(enable health|shutdown sessions server|del server) [A-Za-z0-9_.:-]+/[A-Za-z0-9_.:-]+|add server [A-Za-z0-9_.:-]+/[A-Za-z0-9_.:-]+ [0-9a-f.:[\]]+( [A-Za-z0-9 _.:,/%=()@+*-]+)?)$`)

func TestCommandsAsText(t *testing.T) {
	for _, c := range []struct {
		cmd  Command
		want string
	}{
		{SetWeight("web", "s1", 0), "set server web/s1 weight 0"},
		{SetWeight("web", "s1", 256), "set server web/s1 weight 256"},
		{SetState("web.eu", "s-1_a:2", Drain), "set server web.eu/s-1_a:2 state drain"},
		{SetHealth("web", "s1", Down), "set server web/s1 health down"},
		{SetMaxConn("web", "s1", 0), "set maxconn server web/s1 0"},
		{SetAddr("web", "s1", "10.0.0.1:8000"), "set server web/s1 addr 10.0.0.1 port 8000"},
		{SetAddr("web", "s1", "[2001:db8::1]:8000"), "set server web/s1 addr 2001:db8::1 port 8000"},
		{EnableHealth("web", "s1"), "enable health web/s1"},
		{ShutdownSessions("web", "s1"), "shutdown sessions server web/s1"},
		{AddServer("web", "s1", "[::1]:80", ""), "add server web/s1 [::1]:80"},
		{AddServer("web", "s1", "10.0.0.1:80", " check  inter\t500ms "), "add server web/s1 10.0.0.1:80 check inter 500ms"},
		{DelServer("web", "s1"), "del server web/s1"},
	} {
		if err := c.cmd.Check(); err != nil || c.cmd.String() != c.want {
			t.Errorf("%#v: %q, %v; want %q", c.cmd, c.cmd, err, c.want)
		}
	}
}

func TestCommandsThatAreRefused(t *testing.T) {
	for name, c := range map[string]Command{
		"weight 257":       SetWeight("web", "s1", 257),
		"weight -1":        SetWeight("web", "s1", -1),
		"maxconn -5":       SetMaxConn("web", "s1", -5),
		"state READY":      SetState("web", "s1", "READY"),
		"state of health":  SetState("web", "s1", Up),
		"health of state":  SetHealth("web", "s1", Maint),
		"no server":        SetWeight("web", "", 1),
		"no backend":       SetWeight("", "s1", 1),
		"a semicolon":      SetWeight("web", "s1;shutdown sessions server web/s1", 1),
		"a space":          SetWeight("we b", "s1", 1),
		"a newline":        SetWeight("web", "s1\n", 1),
		"a slash":          SetWeight("web", "s1/s2", 1),
		"a number sign":    SetWeight("web", "#1", 1),
		"a non-ASCII name": SetWeight("wéb", "s1", 1),
		"a long name":      SetWeight("web", strings.Repeat("s", maxName+1), 1),
		"the zero command": {},
		"an unknown kind":  {Kind: "color", Backend: "web", Server: "s1"},
		"port 99999":       SetAddr("web", "s1", "10.0.0.1:99999"),
		"port 0":           SetAddr("web", "s1", "10.0.0.1:0"),
		"no port":          SetAddr("web", "s1", "10.0.0.1"),
		"a host name":      SetAddr("web", "s1", "localhost:80"),
		"a zone":           SetAddr("web", "s1", "[fe80::1%eth0;x]:80"),
		"add without addr": AddServer("web", "s1", "", "check"),
		"options with ;":   AddServer("web", "s1", "10.0.0.1:80", "check;del server web/s2"),
		"options with #":   AddServer("web", "s1", "10.0.0.1:80", "check # x"),
		"options with <<":  AddServer("web", "s1", "10.0.0.1:80", "check <<"),
		"long options":     AddServer("web", "s1", "10.0.0.1:80", strings.Repeat("check ", 200)),
		"enabled":          AddServer("web", "s1", "10.0.0.1:80", "check enabled"),
		"a newline within": {Kind: KindAdd, Backend: "web", Server: "s1", To: "10.0.0.1:80", Options: "check\ninter 1"},
		"del with ;":       DelServer("web", "s1;x"),
	} {
		if err := c.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
		if !strings.HasPrefix(c.String(), "(not valid") {
			t.Errorf("%s: String looks like a command: %s", name, c)
		}
	}
}

func FuzzCommand(f *testing.F) {
	f.Add("weight", "web", "s1", 10, "", "")
	f.Add("state", "web", "s1;disable server web/s2", 0, "ready", "")
	f.Add("state", "web\nset server web/s2 state maint", "s1", 0, "ready;x", "")
	f.Add("addr", "web", "s1", 0, "10.0.0.1:80", "")
	f.Add("add", "web", "s1", 0, "[::1]:80", "check inter 1s")
	f.Fuzz(func(t *testing.T, kind, backend, server string, n int, to, options string) {
		c := Command{Kind: Kind(kind), Backend: backend, Server: server, N: n, To: to, Options: options}
		line, err := c.wire()
		if err != nil {
			if line != "" {
				t.Fatalf("refused, and yet text: %q", line)
			}
			return
		}
		if !oneCommand.MatchString(line) {
			t.Fatalf("not one single command: %q", line)
		}
	})
}

// Lines are cut between commands, stay below the limit, lose nothing, keep the order and never end in a semicolon.
func TestLinesKeepTheLimitAndTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Za-z0-9_.:-]{1,128}`)
		var cmds []Command
		for i := range rapid.IntRange(0, 400).Draw(t, "commands") {
			cmds = append(cmds, SetWeight(name.Draw(t, "backend"), name.Draw(t, "server"), i%257))
		}
		calls, err := changeCalls(cmds)
		if err != nil {
			t.Fatal(err)
		}
		var sent []string
		for _, part := range splitCalls(calls) {
			line := lineOf(part)
			if len(line)+1 > maxLine+1 || strings.HasSuffix(line, ";") || strings.Contains(line, ";;") || strings.Contains(line, "\n") {
				t.Fatalf("line of %d bytes: %q", len(line), line)
			}
			rest, ok := strings.CutPrefix(line, preamble)
			if !ok {
				t.Fatalf("line without the preamble: %q", line)
			}
			if rest != "" {
				sent = append(sent, strings.Split(rest[1:], ";")...)
			}
		}
		if len(sent) != len(cmds) {
			t.Fatalf("%d commands became %d", len(cmds), len(sent))
		}
		for i, c := range cmds {
			if sent[i] != c.String() {
				t.Fatalf("command %d is %q, want %q", i, sent[i], c)
			}
		}
	})
}

func TestAddresses(t *testing.T) {
	for addr, network := range map[string]string{"unix:/run/haproxy/admin.sock": "unix", "abns@tidegate": "unix", "unix:abns@tidegate": "unix", "127.0.0.1:9999": "tcp", "[::1]:9999": "tcp"} {
		if got, err := parseAddr(addr); err != nil || got.network != network {
			t.Errorf("%s: %+v, %v", addr, got, err)
		}
	}
	for _, addr := range []string{"", "unix:", "unix:run/x", "unix:/" + strings.Repeat("x", 107), "abns@", "/run/x", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000",
		"10.0.0.1:9999", "localhost:9999", "0.0.0.0:9999", "unix:/run/x\n", "127.0.0.1:http"} {
		if got, err := parseAddr(addr); err == nil {
			t.Errorf("%q was accepted as %+v", addr, got)
		}
	}
	if _, err := New(Options{Addr: "127.0.0.1:1", Name: "a\nb"}); err == nil {
		t.Error("a name with a newline was accepted")
	}
	if _, err := New(Options{Addr: "127.0.0.1:1", Timeout: -1}); err == nil {
		t.Error("a negative time-out was accepted")
	}
}
