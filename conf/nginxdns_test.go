package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServersThroughDNSAreBounded(t *testing.T) {
	for last, most := range map[string]int{"10.9.9.9:80": 200, "[fd00::1]:80": 100, "app9.example:80": 100} {
		for more := range 2 {
			text := "nginx: {include: /etc/nginx/t.conf, weights: dns}\napps:\n- name: shop\n  strategy: noop\n  nginx_upstream: {name: shop}\n  servers:\n"
			for i := range most + more - 1 {
				text += fmt.Sprintf("  - {name: n%d, address: \"10.0.0.1:%d\"}\n", i, 8000+i)
			}
			text += fmt.Sprintf("  - {name: last, address: %q}\n", last)
			file := filepath.Join(t.TempDir(), "tidegate.yaml")
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := LoadController(file)
			if more == 0 && err != nil || more == 1 && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("at most %d servers with `nginx.weights: dns`", most))) {
				t.Errorf("%d servers, the last %s: %v", most+more, last, err)
			}
		}
	}
}

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

func TestZonesForDNS(t *testing.T) {
	for servers, want := range map[int]string{0: "256k", 1: "256k", 64: "256k", 65: "512k", 200: "1024k", 1000: "4096k"} {
		if got := DNSZone(servers); got != want {
			t.Errorf("%d servers: %s, want %s", servers, got, want)
		}
	}
}
