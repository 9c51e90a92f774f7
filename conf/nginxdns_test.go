package conf

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNginxWeights(t *testing.T) {
	for name, c := range map[string]struct {
		nginx    string
		dns      string
		fallback bool
	}{
		"not said":    {"", "", false},
		"by reload":   {", weights: reload", "", false},
		"through DNS": {", weights: dns", "127.0.0.1:539", true},
		"no fallback": {", weights: dns, dns: {fallback: false}", "127.0.0.1:539", false},
		"elsewhere":   {`, weights: dns, dns: {listen: "[::1]:5353"}`, "[::1]:5353", true},
	} {
		file := filepath.Join(t.TempDir(), "tidegate.yaml")
		text := "nginx: {include: /etc/nginx/t.conf" + c.nginx + "}\n" +
			"apps:\n- {name: shop, strategy: noop, nginx_upstream: {name: shop, zone: 64k}, servers: [{name: n1, address: \"10.0.0.1:80\"}]}\n"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := LoadController(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Nginx.DNS != c.dns || got.Nginx.Fallback != c.fallback {
			t.Errorf("%s: %q %t, want %q %t", name, got.Nginx.DNS, got.Nginx.Fallback, c.dns, c.fallback)
		}
	}
}
