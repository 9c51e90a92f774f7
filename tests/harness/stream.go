package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

var modulesRE = regexp.MustCompile(`--modules-path=(\S+)`)

// NeedStream skips the test when nginx has no stream module, and returns the line that loads it, "" when it is built in.
func NeedStream(t TB) string {
	t.Helper()
	Need(t, "nginx")
	path, err := Find("nginx")
	if err != nil {
		t.Fatalf("%v", err)
	}
	text, err := exec.Command(path, "-V").CombinedOutput()
	if err != nil {
		t.Fatalf("%v", err)
	}
	built := string(text) + " "
	if strings.Contains(built, "--with-stream ") || strings.Contains(built, "--with-stream\n") {
		return ""
	}
	if g := modulesRE.FindStringSubmatch(built); g != nil && strings.Contains(built, "--with-stream=dynamic") {
		so := filepath.Join(g[1], "ngx_stream_module.so")
		if _, err := os.Stat(so); err == nil {
			return "load_module " + so + ";\n"
		}
	}
	t.Skipf("this nginx has no stream module (Debian's package libnginx-mod-stream)")
	return ""
}
