package nginxgen

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/nginxtok"
)

func FuzzParse(f *testing.F) {
	for _, m := range []Model{example(), streamExample()} {
		good, err := Render(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(good)
	}
	f.Add([]byte(header))
	f.Add([]byte(streamHeader))
	f.Add([]byte(header + "\nupstream a {\n    server 127.0.0.1:9 weight=1 down; # x\n}\n"))
	f.Add([]byte(streamHeader + "\nupstream a {\n    hash $remote_addr;\n    server 127.0.0.1:9 weight=1 down; # x\n}\n"))
	f.Add([]byte(header + "}\nupstream a { server \"c:\\\\\"; }"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Render(m)
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("Parse accepts what Render does not write (%v):\n%s", err, text)
		}
	})
}

// FuzzRender: whatever strings come in, the text that comes out holds exactly the directives of the model, counted here
// by nginx's own rules and not by the parser that Render uses.
func FuzzRender(f *testing.F) {
	f.Add("app", "127.0.0.1:80", "", "", "node-a", false)
	f.Add("app", "127.0.0.1:80", "hash $remote_addr consistent", "64k", "node-a", true)
	f.Add("a b; {", "x; } server {", "hash $a; b", "64k; c", "x\n}", false)
	f.Add("a", "unix:/x y", "hash ${a}", "1m", "x\r}", true)
	f.Add("a", "[fe80::1%a;}]:80", "least_conn", "32k", "#", false)
	f.Add("a", "localhost:80", "hash \"$a\\\" consistent", "32k", "", false)
	f.Add("a", "[::1]:80", "hash $a#", "", "", true)
	f.Fuzz(func(t *testing.T, name, address, method, zone, comment string, stream bool) {
		m := Model{Upstreams: []Upstream{{Name: name, Method: method, Zone: zone, Stream: stream, Servers: []Server{{Address: address, Name: comment}}}}}
		text, err := Render(m)
		if err != nil {
			if strings.Count(err.Error(), "\n") > 0 || strings.Contains(err.Error(), "bug") {
				t.Fatalf("not a sentence for a person: %v", err)
			}
			return
		}
		want := 1
		for _, s := range []string{method, zone} {
			if s != "" {
				want++
			}
		}
		head := header
		if stream {
			head = streamHeader
		}
		body, ours := bytes.CutPrefix(text, []byte(head))
		if n := bytes.Count(body, []byte(";")); n != want || !ours {
			t.Fatalf("%d semicolons, want %d:\n%s", n, want, text)
		}
		if bytes.Count(body, []byte("{")) != 1 || bytes.Count(body, []byte("}")) != 1 || bytes.ContainsAny(body, "\"'\\\r\x00") {
			t.Fatalf("braces or quotes that are not ours:\n%s", text)
		}
		ds, err := nginxtok.Parse(string(text), 1)
		if err != nil || len(ds) != 1 || ds[0].Name() != "upstream" || ds[0].Arg(1) != name || len(ds[0].Block) != want {
			t.Fatalf("the upstream is not there as nginx reads it: %v %+v\n%s", err, ds, text)
		}
		// A name would be looked up by nginx, and one that is not found stops all of nginx.
		if !strings.HasPrefix(address, "unix:") {
			if _, err := netip.ParseAddrPort(address); err != nil {
				t.Fatalf("%q is no address:\n%s", address, text)
			}
		}
		back, err := Parse(text)
		if err != nil || !back.equal(m.normal()) {
			t.Fatalf("it reads back as another model (%v): %+v", err, back)
		}
	})
}
