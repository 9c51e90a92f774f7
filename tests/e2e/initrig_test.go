package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/tests/harness"
)

// runInit runs `tidegate init` and returns what it printed and its exit status.
func runInit(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(binaryPath, append([]string{"init"}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Stdin = &out, &errs, nil
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// mustInit is runInit where it has to work.
func mustInit(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, status := runInit(t, args...)
	if status != 0 || errs != "" {
		t.Fatalf("init: status %d\n%s%s", status, out, errs)
	}
	return out
}

// commands picks what a person would type out of the printed instructions: the lines set off by five spaces that begin with
// one of the words, between two headings.
func commands(t *testing.T, text, from, to string, words ...string) []string {
	t.Helper()
	_, part, ok := strings.Cut(text, from)
	if !ok {
		t.Fatalf("no %q in\n%s", from, text)
	}
	part, _, _ = strings.Cut(part, to)
	var out []string
	for line := range strings.Lines(part) {
		line, set := strings.CutPrefix(strings.TrimRight(line, "\n"), "     ")
		for _, w := range words {
			if set && strings.HasPrefix(line, w+" ") {
				out = append(out, line)
			}
		}
	}
	if len(out) == 0 {
		t.Fatalf("no commands in\n%s", part)
	}
	return out
}

// shell runs the commands as printed, one after the other; only nginx gets a log of its own, so that it writes nothing elsewhere.
func shell(t *testing.T, rig *harness.Rig, lines []string) {
	t.Helper()
	for _, line := range lines {
		cmd := exec.Command("sh", "-ec", strings.Replace(line, "nginx -t", "nginx -t -p "+rig.Dir+" -e "+rig.Path("test.log"), 1))
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binaryPath)+":/usr/sbin:/sbin:"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		t.Logf("%s\n%s", line, out)
	}
}

var installWords, undoWords = []string{"cp", "sed", "haproxy", "nginx", "tidegate"}, []string{"sed", "haproxy", "rm", "nginx"}

func install(t *testing.T, rig *harness.Rig, printed string) {
	t.Helper()
	shell(t, rig, commands(t, printed, "tidegate: what to do", "Put it into force", installWords...))
}

func undo(t *testing.T, rig *harness.Rig, printed string) {
	t.Helper()
	shell(t, rig, commands(t, printed, "To take it all out again", "\x00", undoWords...))
}

// contents reads files by name; a missing one is "".
func contents(t *testing.T, files ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		out[f] = string(text)
	}
	return out
}

func unchanged(t *testing.T, what string, was map[string]string) {
	t.Helper()
	for f, text := range was {
		if now := contents(t, f)[f]; now != text {
			t.Errorf("%s: %s is\n%s\nand was\n%s", what, f, now, text)
		}
	}
}

// insertByHand does what backend-lines.cfg says: its lines go right after the first line of the backend it names.
func insertByHand(t *testing.T, config, lines string) string {
	t.Helper()
	rows := strings.SplitAfter(config, "\n")
	for _, part := range strings.Split(lines, "# Right after line ")[1:] {
		head, body, _ := strings.Cut(part, "\n")
		var n int
		var name string
		if _, err := fmt.Sscanf(head, "%d, %q:", &n, &name); err != nil || strings.TrimSpace(rows[n-1][:strings.IndexAny(rows[n-1]+"\n", "\n#")]) != name {
			t.Fatalf("%q does not name a line of the file: %q (%v)", head, rows[n-1], err)
		}
		rows[n-1] += strings.TrimSuffix(body, "\n\n") + strings.Repeat("\n", strings.Count(body, "\n\n"))
	}
	return strings.Join(rows, "")
}

func origin(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// debianGlobal is the global and defaults section of Debian's package, with the paths of the rig.
func debianGlobal(rig *harness.Rig) string {
	return fmt.Sprintf(`global
	log %[1]s/log	local0
	log %[1]s/log	local1 notice
	chroot %[1]s/jail
	stats socket %[1]s/haproxy.sock mode 660 level admin
	stats timeout 30s
	user haproxy
	group haproxy

	# See: https://ssl-config.mozilla.org/#server=haproxy&server-version=2.0.3&config=intermediate
        ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets

defaults
	log	global
	mode	http
	option	httplog
	option	dontlognull
        timeout connect 5000
        timeout client  50000
        timeout server  50000
`, rig.Dir)
}

func addr(t *testing.T, rig *harness.Rig) string {
	t.Helper()
	a, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return a
}
