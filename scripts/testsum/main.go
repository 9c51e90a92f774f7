package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

type key struct{ pkg, test string }

type summary struct {
	out                     io.Writer
	text                    map[key][]string
	passed, failed, skipped int
	skips                   []string
	failures                []key
}

func main() {
	s := &summary{out: os.Stdout, text: map[key][]string{}}
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	if !s.report() {
		os.Exit(1)
	}
}

func (s *summary) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			// What is not JSON comes from the go command itself: a build that failed, a download.
			fmt.Fprintln(s.out, lines.Text())
			continue
		}
		s.event(e)
	}
	return lines.Err()
}

func (s *summary) event(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "output", "build-output":
		s.text[k] = append(s.text[k], e.Output)
	case "pass":
		if e.Test != "" {
			s.passed++
			delete(s.text, k)
			return
		}
		fmt.Fprintf(s.out, "ok    %-60s %6.1f s\n", e.Package, e.Elapsed)
	case "skip":
		if e.Test == "" {
			return
		}
		s.skipped++
		s.skips = append(s.skips, fmt.Sprintf("skip  %s %s: %s", e.Package, e.Test, reason(s.text[k])))
	case "fail":
		if e.Test != "" {
			s.failed++
		} else {
			fmt.Fprintf(s.out, "FAIL  %-60s %6.1f s\n", e.Package, e.Elapsed)
		}
		s.failures = append(s.failures, k)
	case "build-fail":
		s.failures = append(s.failures, k)
	}
}

// reason is what the test said when it skipped.
func reason(text []string) string {
	var out []string
	for _, line := range text {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		out = append(out, line)
	}
	if len(out) == 0 {
		return "no reason given"
	}
	return strings.Join(out, " ")
}

func (s *summary) report() bool {
	for _, k := range s.failures {
		fmt.Fprintf(s.out, "\n==== %s %s\n%s", k.pkg, k.test, strings.Join(s.text[k], ""))
	}
	slices.Sort(s.skips)
	fmt.Fprintln(s.out, strings.Join(s.skips, "\n"))
	failed := s.failed
	if failed == 0 {
		// A package that did not build, or died outside a test.
		failed = len(s.failures)
	}
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, failed, s.skipped)
	return failed == 0 && s.passed > 0
}
