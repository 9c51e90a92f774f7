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
	line, ok := Stream(t)
	if !ok {
		t.Skipf("this nginx has no stream module (Debian's package libnginx-mod-stream)")
	}
	return line
}

// Stream is the line that loads nginx's stream module, "" when it is built in, and whether there is one. Without nginx the test
// is skipped.
func Stream(t TB) (string, bool) {
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
		return "", true
	}
	for _, folder := range moduleFolders(path, built) {
		if line := "load_module " + filepath.Join(folder, "ngx_stream_module.so") + ";\n"; loads(t, path, line) {
			return line, true
		}
	}
	return "", false
}

// moduleFolders are where an nginx may have its modules: beside itself, when it was unpacked into a folder of its own
// (scripts/versions.sh), and where it was built to look.
func moduleFolders(path, built string) []string {
	var out []string
	if real, err := filepath.EvalSymlinks(path); err == nil {
		out = append(out, filepath.Join(filepath.Dir(real), "../lib/nginx/modules"))
	}
	if g := modulesRE.FindStringSubmatch(built); g != nil {
		out = append(out, g[1])
	}
	return out
}

// loads tells whether nginx takes the module: it refuses those of another version.
func loads(t TB, path, line string) bool {
	t.Helper()
	dir, err := os.MkdirTemp("", "tg-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer os.RemoveAll(dir)
	main := filepath.Join(dir, "main.conf")
	if err := os.WriteFile(main, []byte(line+"pid "+dir+"/pid;\nerror_log stderr;\nevents { }\n"), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	return exec.Command(path, "-t", "-e", "stderr", "-c", main).Run() == nil
}
