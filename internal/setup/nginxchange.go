package setup

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// change is a change of a user's file, to be made by the user: lines Start to End become New. End is Start-1 where nothing
// is replaced and New goes in before line Start.
type change struct {
	File       string
	Start, End int
	Old, New   []string
	// Why is what it is for, as the end of a sentence.
	Why string
	// Sed is a command that does the same, SedUndo one that takes it back; "" where there is none.
	Sed, SedUndo string
}

// What is the change as the beginning of a sentence.
func (c change) What() string {
	switch {
	case c.End < c.Start && c.Start == 1:
		return "before line 1"
	case c.End < c.Start:
		return fmt.Sprintf("after line %d", c.Start-1)
	case c.Start == c.End:
		return fmt.Sprintf("replace line %d", c.Start)
	default:
		return fmt.Sprintf("replace lines %d to %d", c.Start, c.End)
	}
}

// Inserts tells that nothing is replaced.
func (c change) Inserts() bool { return c.End < c.Start }

// Shown are the lines as they are printed.
func (c change) Shown() (lines []string) {
	for _, l := range c.Old {
		lines = append(lines, "- "+shownLine(l))
	}
	for _, l := range c.New {
		lines = append(lines, "+ "+shownLine(l))
	}
	return lines
}

// Escaped tells that a line has bytes that are not printed as they are.
func (c change) Escaped() bool {
	return slices.ContainsFunc(append(slices.Clone(c.Old), c.New...), func(l string) bool { return shownLine(l) != strings.TrimSuffix(l, "\r") })
}

// shownLine is a line of a file for a terminal: tabs and printable text stay, the \r at its end is left out, other bytes are
// written \xNN, and so is a backslash before an x, so that it can be read back.
func shownLine(l string) string {
	l = strings.TrimSuffix(l, "\r")
	var b strings.Builder
	for i, n := 0, 0; i < len(l); i += n {
		var r rune
		r, n = utf8.DecodeRuneInString(l[i:])
		switch {
		case r == utf8.RuneError && n == 1, r != '\t' && !unicode.IsPrint(r), strings.HasPrefix(l[i:], `\x`):
			for _, c := range []byte(l[i : i+n]) {
				fmt.Fprintf(&b, "\\x%02x", c)
			}
		default:
			b.WriteString(l[i : i+n])
		}
	}
	return b.String()
}

// splice takes the bytes from to to out of a text and puts another text in their place.
type splice struct {
	from, to int
	text     string
	why      string
	// comment says that whole lines may as well become comments.
	comment bool
}

const commentMark = "#tidegate# "

// changesOf turns splices of one file into changes of its lines, the last first, so that each leaves the numbers of those
// that follow as they are.
func changesOf(file, text string, list []splice) []change {
	slices.SortFunc(list, func(a, b splice) int { return cmp.Compare(a.from, b.from) })
	lines := newLines(text)
	var out []change
	for len(list) > 0 {
		// Splices that share a line are one change.
		n := 1
		for n < len(list) && lines.of(list[n].from) <= lines.last(list[n-1]) {
			n++
		}
		out = append(out, lines.change(file, list[:n]))
		list = list[n:]
	}
	slices.Reverse(out)
	return out
}

// textLines knows where the lines of a text begin.
type textLines struct {
	text   string
	begins []int
}

func newLines(text string) textLines {
	l := textLines{text: text, begins: []int{0}}
	for i := range len(text) {
		if text[i] == '\n' {
			l.begins = append(l.begins, i+1)
		}
	}
	return l
}

// of is the line of a byte, from 1.
func (l textLines) of(offset int) int {
	i, found := slices.BinarySearch(l.begins, offset)
	if found {
		return i + 1
	}
	return i
}

// last is the last line that a splice touches.
func (l textLines) last(s splice) int { return l.of(max(s.from, s.to-1)) }

// end is the byte after a line, its \n not included.
func (l textLines) end(line int) int {
	if line < len(l.begins) {
		return l.begins[line] - 1
	}
	return len(l.text)
}

func (l textLines) lines(first, last int) []string {
	return strings.Split(l.text[l.begins[first-1]:l.end(last)], "\n")
}

func (l textLines) change(file string, list []splice) change {
	first, last := l.of(list[0].from), l.last(list[len(list)-1])
	c := change{File: file, Start: first, End: last, Old: l.lines(first, last)}
	var whys []string
	var text strings.Builder
	done := l.begins[first-1]
	for _, s := range list {
		whys = append(whys, s.why)
		text.WriteString(l.text[done:s.from] + s.text)
		done = s.to
	}
	c.Why = strings.Join(whys, "; ")
	before, after := l.text[l.begins[first-1]:list[0].from], l.text[done:l.end(last)]
	switch s := list[0]; {
	case len(list) == 1 && s.comment && strings.TrimSpace(before) == "" && bareEnd(after):
		for _, line := range c.Old {
			c.New = append(c.New, commentMark+line)
		}
		if plainPath(file) {
			c.Sed = fmt.Sprintf("sed -i '%d,%ds/^/%s/' %s", first, last, commentMark, file)
			c.SedUndo = fmt.Sprintf("sed -i 's/^%s//' %s", commentMark, file)
		}
		return c
	case len(list) == 1 && s.from == s.to && bareEnd(after):
		// Something new after the end of a line.
		c.Start, c.Old, c.New = last+1, nil, []string{strings.Trim(s.text, "\n")}
		if plainPath(file) {
			c.Sed = fmt.Sprintf(`sed -i '%da\%s' %s`, last, c.New[0], file)
			c.SedUndo = fmt.Sprintf("sed -i '/^[[:space:]]*include .*; # tidegate$/d' %s", file)
		}
		return c
	}
	for _, line := range strings.Split(text.String()+after, "\n") {
		if strings.TrimSpace(line) != "" {
			c.New = append(c.New, strings.TrimRight(line, " \t"))
		}
	}
	return c
}

// bareEnd tells that nothing, or nothing but a comment, is left of a line.
func bareEnd(s string) bool {
	s = strings.TrimSpace(s)
	return s == "" || s[0] == '#'
}

// changes are what the user has to do to the files of nginx, each file's last lines first.
func (s *site) changes() []change {
	splices := map[string][]splice{}
	texts := map[string]string{}
	var files []string
	add := func(file, text string, sp splice) {
		if _, known := texts[file]; !known {
			files, texts[file] = append(files, file), text
		}
		splices[file] = append(splices[file], sp)
	}
	for _, b := range s.taken() {
		// A block in the include file's own place is tidegate's, from an earlier time.
		if u := b.upstream; u != nil && !u.own {
			add(u.real, s.conf.texts[u.File], splice{u.from, u.to, "", "your own block `upstream " + shown(u.Name) + "`, because nginx refuses the name twice", true})
		}
	}
	for _, inc := range s.includes() {
		if h := s.conf.braces[inc.Block]; inc.NeedLine && h != nil {
			add(followed(h.file), s.conf.texts[h.file], splice{h.body, h.body, "\n    include " + inc.To + "; # tidegate\n", "tidegate's file, read in the " + inc.Block + " block", false})
		}
	}
	var out []change
	for _, f := range files {
		out = append(out, changesOf(f, texts[f], splices[f])...)
	}
	return out
}
