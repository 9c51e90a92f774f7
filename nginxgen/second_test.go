package nginxgen

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/tests/harness"
)

func TestBlocks(t *testing.T) {
	got, err := Blocks(`stream { upstream tcp { server 10.0.0.1:1 down weight=2; } }
http {
	upstream "shop" { least_conn; include "members/*.conf"; server 'unix:/run/x y' weight=3 backup; keepalive 8; }
	server { listen 80; }
}
upstream top { server a; }`)
	want := []Block{
		{"tcp", []string{"server 10.0.0.1:1 down weight=2"}},
		{"shop", []string{"include members/*.conf", "keepalive 8", "least_conn", "server unix:/run/x y backup weight=3"}},
		{"top", []string{"server a"}},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	for name, text := range map[string]string{"a deep nest": strings.Repeat("a{", 1_000_000), "a NUL": "a;\x00", "an open block": "upstream a {", "a regular expression": `location ~ ^/a\ b$ { } }`} {
		if got, err := Blocks(text); name != "a regular expression" && err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestDump(t *testing.T) {
	harness.Need(t, "nginx")
	good := "pid %/pid;\nerror_log stderr;\nevents { }\nhttp { include paths; include more/*; }\n"
	paths := "client_body_temp_path %/a;\nproxy_temp_path %/b;\nfastcgi_temp_path %/c;\nuwsgi_temp_path %/d;\nscgi_temp_path %/e;\n"
	for name, c := range map[string]struct{ main, more, refused string }{
		"good":    {good, "upstream a { server 127.0.0.1:1; }", ""},
		"refused": {good, "upstream a { }", "no servers are inside upstream in %/more/a:1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"nginx.conf": "", "more/a": c.more})
			in := func(s string) string { return strings.ReplaceAll(s, "%", dir) }
			for file, text := range map[string]string{"nginx.conf": in(c.main), "paths": in(paths)} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			dump, refused, err := Dump(t.Context(), "", filepath.Join(dir, "nginx.conf"))
			want := in("# configuration file %/nginx.conf:\n" + c.main + "\n# configuration file %/paths:\n" + paths + "\n# configuration file %/more/a:\n" + c.more + "\n")
			if c.refused != "" {
				want = ""
			}
			if d := cmp.Diff(want, dump); err != nil || refused != in(c.refused) || d != "" {
				t.Errorf("%q, %v (-want +got)\n%s", refused, err, d)
			}
			if _, err := os.Stat(filepath.Join(dir, "pid")); err == nil {
				t.Error("an empty pid file was left")
			}
		})
	}
	if _, _, err := Dump(t.Context(), "/nowhere/nginx", "x"); err == nil || !strings.Contains(err.Error(), "no program /nowhere/nginx") {
		t.Error(err)
	}
}
