package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fencedRE = regexp.MustCompile("(?s)```.*?```")
	linkRE   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headRE   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	// plainRE is what a heading's anchor leaves out.
	plainRE = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// Each link of the documents leads to a file of the repository, and to a heading in it.
func TestLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	root := filepath.Join("..", "..")
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d documents (%v)", len(files), err)
	}
	files = append(files, filepath.Join(root, "README.md"), filepath.Join(root, "CHANGELOG.md"))
	links := 0
	for _, file := range files {
		for _, m := range linkRE.FindAllStringSubmatch(document(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			name, anchor, _ := strings.Cut(m[1], "#")
			target := file
			if name != "" {
				target = filepath.Join(filepath.Dir(file), name)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s: %v", file, m[1], err)
			} else if anchor != "" && !anchors(document(t, target))[anchor] {
				t.Errorf("%s: the link %s: there is no such heading", file, m[1])
			}
		}
	}
	if links < 20 {
		t.Errorf("only %d links were found", links)
	}
}

// document is a file without what stands in fences.
func document(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fencedRE.ReplaceAllString(string(text), "")
}

// anchors are the names of a document's headings, as GitHub makes them.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range headRE.FindAllStringSubmatch(text, -1) {
		name := plainRE.ReplaceAllString(strings.ToLower(m[1]), "")
		all[strings.ReplaceAll(name, " ", "-")] = true
	}
	return all
}
