package nginxgen

import (
	"slices"
	"strings"

	"github.com/tufanbarisyildirim/gonginx/config"
)

// Block is an upstream block as gonginx reads it.
type Block struct {
	Name string
	// Lines are its directives, the words of each with one space between, quotes off, and sorted: gonginx keeps neither the
	// order of the lines nor that of a server's parameters.
	Lines []string
}

// Blocks lists the upstream blocks of one file's text, in order, at whatever depth; includes are not followed. It is the
// second opinion of `tidegate init`, which reads by nginx's own rules. An error means that gonginx cannot read the text,
// which may well be good.
func Blocks(text string) ([]Block, error) {
	c, _, err := parseText(text, parseOptions{maxDepth: maxNesting})
	if err != nil {
		return nil, err
	}
	return blocksOf(nil, c.GetDirectives()), nil
}

func blocksOf(out []Block, ds []config.IDirective) []Block {
	for _, d := range ds {
		if up, ok := d.(*config.Upstream); ok {
			b := Block{Name: unquote(up.UpstreamName)}
			for _, d := range up.GetDirectives() {
				b.Lines = append(b.Lines, lineOf(d))
			}
			slices.Sort(b.Lines)
			out = append(out, b)
		} else if inner := d.GetBlock(); inner != nil {
			out = blocksOf(out, inner.GetDirectives())
		}
	}
	return out
}

func lineOf(d config.IDirective) string {
	var words []string
	for _, p := range d.GetParameters() {
		words = append(words, unquote(p.GetValue()))
	}
	if inc, ok := d.(*config.Include); ok && len(words) == 0 {
		words = append(words, unquote(inc.IncludePath))
	}
	return BlockLine(append([]string{d.GetName()}, words...))
}

// BlockLine is a line of Block.Lines from the words of a directive.
func BlockLine(words []string) string {
	if len(words) > 2 && words[0] == "server" {
		words = slices.Clone(words)
		slices.Sort(words[2:])
	}
	return strings.Join(words, " ")
}

// Written tells whether a file's text is one that Render wrote, in this or an earlier version.
func Written(text string) bool { return ours([]byte(text)) }
