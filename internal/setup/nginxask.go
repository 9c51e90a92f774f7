package setup

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/internal/nginxtok"
	"github.com/tidegate/tidegate/nginxgen"
)

// askTimeout bounds `nginx -T`, which looks up the names of servers.
const askTimeout = 30 * time.Second

// compare holds what was read against gonginx, the library that also writes tidegate's own file. It does not know all of
// nginx's rules, so a file that it cannot read is given to it block by block; but where it reads, it must read the same.
func (r *nginxReader) compare() error {
	for _, file := range slices.Sorted(maps.Keys(r.blocks)) {
		want := r.blocks[file]
		got, err := nginxgen.Blocks(r.texts[file])
		if err != nil {
			if err := r.compareSingly(file, want); err != nil {
				return err
			}
			continue
		}
		for i, d := range want {
			if i >= len(got) {
				return fmt.Errorf("%s: upstream %s is there by nginx's rules and not for gonginx, which loses its way before that line; nothing is proposed on such ground, write what stands above more plainly (a backslash before a quote, a brace in a word)", at(file, d.Line), shown(d.Arg(1)))
			}
			if why := differ(d, got[i]); why != "" {
				return fmt.Errorf("%s: %s; nothing is proposed on such ground, write it more plainly", at(file, d.Line), why)
			}
		}
		if len(got) > len(want) {
			return fmt.Errorf("%s: gonginx finds upstream %s there, and by nginx's rules there is none; nothing is proposed on such ground, write the file more plainly", file, shown(got[len(want)].Name))
		}
	}
	return nil
}

// compareSingly gives gonginx nothing but the blocks of a file that it cannot read as a whole.
func (r *nginxReader) compareSingly(file string, want []nginxtok.Directive) error {
	for _, d := range want {
		got, err := nginxgen.Blocks(r.texts[file][d.From:d.To])
		why := ""
		switch {
		case err != nil:
			why = fmt.Sprintf("gonginx cannot read it (%v)", err)
		case len(got) != 1:
			return fmt.Errorf("%s: upstream %s is one block by nginx's rules and %d for gonginx; nothing is proposed on such ground, write it more plainly", at(file, d.Line), shown(d.Arg(1)), len(got))
		default:
			if why := differ(d, got[0]); why != "" {
				return fmt.Errorf("%s: %s; nothing is proposed on such ground, write it more plainly", at(file, d.Line), why)
			}
		}
		for _, u := range r.upstreams {
			if why != "" && u.File == file && u.from == d.From {
				u.bad = why
			}
		}
	}
	return nil
}

// differ says how the two readings of a block differ, "" when they do not. gonginx keeps quotes and escapes as written.
func differ(d nginxtok.Directive, b nginxgen.Block) string {
	if got := d.Arg(1); b.Name != got && b.Name != bare(d.Words[min(1, len(d.Words)-1)].Raw) {
		return fmt.Sprintf("the upstream is %s by nginx's rules and %s for gonginx", shown(got), shown(b.Name))
	}
	var lines []string
	for _, inner := range d.Block {
		var words []string
		for _, w := range inner.Words {
			words = append(words, bare(w.Raw))
		}
		lines = append(lines, nginxgen.BlockLine(words))
	}
	slices.Sort(lines)
	if slices.Equal(lines, b.Lines) {
		return ""
	}
	mine, theirs := "nothing more", "nothing more"
	for i := range max(len(lines), len(b.Lines)) {
		if i < len(lines) && i < len(b.Lines) && lines[i] == b.Lines[i] {
			continue
		}
		if i < len(lines) {
			mine = shown(lines[i])
		}
		if i < len(b.Lines) {
			theirs = shown(b.Lines[i])
		}
		break
	}
	return fmt.Sprintf("in upstream %s nginx's rules give %.200q and gonginx gives %.200q", shown(d.Arg(1)), mine, theirs)
}

// bare takes one pair of quotes off a word as it is written.
func bare(w string) string {
	if len(w) >= 2 && (w[0] == '"' || w[0] == '\'') && w[len(w)-1] == w[0] {
		return w[1 : len(w)-1]
	}
	return w
}

// ask lets nginx itself read the configuration: it must accept it, and read the very files that were read here. Without
// nginx, or without the right to ask it, nothing is said against the configuration.
func (r *nginxReader) ask(ctx context.Context, binary string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	dump, refused, err := nginxgen.Dump(ctx, binary, r.main)
	switch {
	case err != nil:
		r.problem(haproxy.Warning, r.main, "nginx itself was not asked about this configuration: %v", err)
		return nil
	case strings.Contains(refused, "(13: Permission denied)") && os.Geteuid() != 0:
		r.problem(haproxy.Warning, r.main, "nginx itself could not be asked about this configuration, which needs root: %s", refused)
		return nil
	case refused != "":
		r.problem(haproxy.Error, r.main, "nginx itself refuses this configuration: %s", refused)
		return nil
	}
	return r.compareDump(dump)
}

// compareDump goes through what `nginx -T` printed: each file's name on a line of its own, its text, a line's end.
func (r *nginxReader) compareDump(dump string) error {
	const mark = "# configuration file "
	seen := map[string]bool{}
	for rest := dump; rest != ""; {
		name, after, ok := strings.Cut(strings.TrimPrefix(rest, mark), ":\n")
		if !ok || !strings.HasPrefix(rest, mark) {
			return fmt.Errorf("%s: the output of nginx -T is not understood", r.main)
		}
		text, known := r.texts[filepath.Clean(name)]
		switch {
		case !known:
			return fmt.Errorf("%s: nginx reads this file too, and no include that is understood here leads to it; nothing is proposed on such ground", name)
		case !strings.HasPrefix(after, text+"\n"):
			return fmt.Errorf("%s: nginx reads another text than stands there; run init again when nobody is editing the file", name)
		}
		seen[filepath.Clean(name)] = true
		rest = after[len(text)+1:]
	}
	for name := range r.texts {
		if !seen[name] {
			return fmt.Errorf("%s: an include leads to this file here, and nginx does not read it; nothing is proposed on such ground", name)
		}
	}
	return nil
}
