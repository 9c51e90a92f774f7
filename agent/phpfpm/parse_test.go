package phpfpm

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// page is a real answer's body.
const page = `{"pool":"shop","process manager":"static","start time":1795335021,"start since":3,"accepted conn":4,"listen queue":1,` +
	`"max listen queue":1,"listen queue len":511,"idle processes":2,"active processes":1,"total processes":3,"max active processes":1,` +
	`"max children reached":0,"slow requests":0}`

// answer is a whole FastCGI answer with the body in so many records.
func answer(header, text string, records int) []byte {
	all := []byte(header + text)
	var b []byte
	for i := range records {
		b = appendRecord(b, stdout, all[i*len(all)/records:(i+1)*len(all)/records])
	}
	b = appendRecord(b, stdout, nil)
	return appendRecord(b, endRequest, make([]byte, 8))
}

func TestAnswers(t *testing.T) {
	const header = "Content-Type: application/json\r\n\r\n"
	good := answer(header, page, 3)
	padded := append([]byte{fcgiVersion, stdout, 0, requestID, 0, 0, 7, 0}, make([]byte, 7)...)
	for _, c := range []struct {
		name string
		in   []byte
		want string // of the error, empty for none
	}{
		{"in three records", good, ""},
		{"with padding and a complaint beside it", append(append(padded, appendRecord(nil, stderr, []byte("hm"))...), good...), ""},
		{"nothing", nil, "ends early"},
		{"half a head", good[:5], "ends early"},
		{"half a record", good[:20], "ends early"},
		{"no end", good[:len(good)-16], "ends early"},
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), "not FastCGI"},
		{"another request's", append([]byte{fcgiVersion, stdout, 0, 2, 0, 0, 0, 0}, good...), "not FastCGI"},
		{"a record of another kind", append(appendRecord(nil, params, nil), good...), "type 4"},
		{"refused", appendRecord(nil, endRequest, []byte{0, 0, 0, 0, 2, 0, 0, 0}), "protocol status 2"},
		{"a short end", appendRecord(nil, endRequest, []byte{0}), "end is not FastCGI"},
		{"a complaint alone", append(appendRecord(nil, stderr, []byte("Primary script unknown")), appendRecord(nil, endRequest, make([]byte, 8))...), "script unknown"},
		{"no headers", answer("", page, 1), "no end of its headers"},
		{"not found", answer("Status: 404 Not Found\r\n"+header, "File not found.", 1), "404 Not Found"},
		{"endless", bytes.Repeat(appendRecord(nil, stdout, make([]byte, 30000)), 10), "longer than"},
		{"endless and empty", bytes.Repeat(appendRecord(nil, stdout, nil), 100000), "longer than"},
	} {
		out, err := readAnswer(bytes.NewReader(c.in))
		if err == nil {
			out, err = body(out)
		}
		switch {
		case c.want == "" && (err != nil || string(out) != page):
			t.Errorf("%s: %q, %v", c.name, out, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func TestRequestIsWellFormed(t *testing.T) {
	long := "/" + strings.Repeat("s", 200) // a value of more than 127 bytes has a length of four
	b := request(long, "json")
	var kinds []byte
	var pairs []byte
	for len(b) > 0 {
		n := int(binary.BigEndian.Uint16(b[4:]))
		kinds = append(kinds, b[1])
		if b[1] == params {
			pairs = append(pairs, b[8:8+n]...)
		}
		b = b[8+n:]
	}
	if !bytes.Equal(kinds, []byte{beginRequest, params, params, stdin}) {
		t.Errorf("the records are %v", kinds)
	}
	want := append([]byte{11, 0x80, 0, 0, 201}, "SCRIPT_NAME"+long...)
	if !bytes.Contains(pairs, want) {
		t.Errorf("%q is not in %q", want, pairs)
	}
}

func TestParseStatus(t *testing.T) {
	s, err := parseStatus([]byte(page))
	want := status{Pool: "shop", Manager: "static", StartTime: 1795335021, Queue: 1, QueueLen: 511, Idle: 2, Active: 1, Total: 3}
	if err != nil || s != want {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, bad := range []string{"", "pong", "{}", "[]", strings.Replace(page, `"active processes":1`, `"active processes":-1`, 1),
		strings.Replace(page, `"active processes":1`, `"active processes":1e9`, 1), strings.Replace(page, "1795335021", `"x"`, 1)} {
		if s, err := parseStatus([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, s)
		}
	}
}

const shown = "[22-Nov-2026 08:09:30] NOTICE: [global]\n[22-Nov-2026 08:09:30] NOTICE: \tprocess_control_timeout = 10s\n" +
	"[22-Nov-2026 08:09:30] NOTICE:  \n[22-Nov-2026 08:09:30] NOTICE: [www]\n[22-Nov-2026 08:09:30] NOTICE: \tlisten = 127.0.0.1:19801\n" +
	"[22-Nov-2026 08:09:30] NOTICE: \tpm = dynamic\n[22-Nov-2026 08:09:30] NOTICE: \tpm.max_children = 5\n" +
	"[22-Nov-2026 08:09:30] NOTICE: \tpm.status_listen = undefined\n[22-Nov-2026 08:09:30] NOTICE: [other]\n" +
	"[22-Nov-2026 08:09:30] NOTICE: \tpm.max_children = 7\n[22-Nov-2026 08:09:30] NOTICE: configuration file main.conf test is successful\n"

func TestParseSettings(t *testing.T) {
	s, err := parseSettings([]byte(shown), "www")
	if want := (settings{controlTimeout: 10 * time.Second, manager: "dynamic", maxChildren: 5, listen: "127.0.0.1:19801"}); err != nil || s != want {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := parseSettings([]byte(shown), "shop"); err == nil {
		t.Error("a pool that is not there was found")
	}
	if _, err := parseSettings([]byte(strings.Replace(shown, "10s", "soon", 1)), "www"); err == nil {
		t.Error("an odd timeout was read")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(answer("Content-Type: application/json\r\n\r\n", page, 2))
	f.Add(appendRecord(nil, endRequest, make([]byte, 8)))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := readAnswer(bytes.NewReader(b))
		if err != nil {
			return
		}
		if len(out) > maxAnswer {
			t.Fatalf("%d bytes", len(out))
		}
		if text, err := body(out); err == nil {
			if s, err := parseStatus(text); err == nil && (s.Active < 0 || s.Active > maxCount || s.Pool == "") {
				t.Fatalf("%q was read as %+v", text, s)
			}
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(shown))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseSettings(b, "www") })
}

func TestReaches(t *testing.T) {
	for _, c := range []struct {
		addr, listen string
		want         bool
	}{
		{"unix:/run/a.sock", "/run/a.sock", true}, {"unix:/run/a.sock", "/run/b.sock", false}, {"127.0.0.1:9000", "9000", true},
		{"127.0.0.1:9000", "127.0.0.1:9000", true}, {"127.0.0.1:9000", "0.0.0.0:9000", true}, {"127.0.0.1:9000", "[::]:9000", true},
		{"127.0.0.1:9000", "127.0.0.2:9000", false}, {"127.0.0.1:9000", "127.0.0.1:9001", false}, {"127.0.0.1:9000", "/run/a.sock", false},
	} {
		if got := reaches(c.addr, c.listen); got != c.want {
			t.Errorf("%s reaches %s: %v", c.addr, c.listen, got)
		}
	}
}

func TestCeilingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.conf")
	c, err := readCeiling(path, "shop")
	if err != nil || !c.missing || c.n != 0 {
		t.Fatalf("missing: %+v, %v", c, err)
	}
	if err := replace(path, ceilingText("shop", 7)); err != nil {
		t.Fatal(err)
	}
	if c, err = readCeiling(path, "shop"); err != nil || c.n != 7 || time.Since(c.changed) > time.Hour {
		t.Fatalf("ours: %+v, %v", c, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := readCeiling(path, "blog"); err == nil {
		t.Error("another pool's file was taken for ours")
	}
	if err := replace(path, ceilingText("shop", 9)); err != nil {
		t.Fatal(err)
	}
	if err := c.restore(path); err != nil {
		t.Fatal(err)
	}
	if c, err = readCeiling(path, "shop"); err != nil || c.n != 7 {
		t.Errorf("restored: %+v, %v", c, err)
	}
	for _, text := range []string{"pm.max_children = 3\n", string(ceilingText("shop", 0)), string(ceilingText("shop", 3)) + "pm = static\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := readCeiling(path, "shop"); err == nil {
			t.Errorf("%q was read as %+v", text, c)
		}
	}
}
