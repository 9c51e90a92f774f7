package nginxgen

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tufanbarisyildirim/gonginx/config"
)

// Found is an upstream that stands in the user's configuration. Its strings come from that file and are not validated.
type Found struct {
	Name, File string
	// Line is the line of the upstream's name, 0 when it is not known for sure.
	Line int
	// Method is in the notation of Upstream.Method, Keepalive the connections kept, Zone the rest of the zone line.
	Method, Zone string
	Keepalive    int
	Servers      []FoundServer
	// Other are directives of the block that a Model has no place for, as written.
	Other []string
	// Users are the places that pass requests to it: "FILE: proxy_pass http://NAME".
	Users []string
}

// FoundServer is one server line of a found upstream.
type FoundServer struct {
	// Address is as written, perhaps a host name or without a port (nginx then takes 80).
	Address      string
	Weight       int
	Down, Backup bool
	// Params are the other parameters, as written and sorted by name.
	Params []string
}

// ReadUpstreams lists the upstreams of the nginx configuration at path, includes followed, in order. It only reads. The
// warnings are sentences about what could not be read or will not carry over; the error is about the main file. A file
// may have 8 MB, all together 64 MB, blocks and includes may nest 64 and 16 deep.
func ReadUpstreams(path string) (found []Found, warnings []string, err error) {
	users := map[string][]string{}
	r := &reader{}
	r.enter = func(path []string) bool {
		switch path[0] {
		case "http":
			return path[len(path)-1] != "upstream"
		default:
			return false
		}
	}
	r.visit = func(at place, path []string, d config.IDirective) {
		if up, ok := d.(*config.Upstream); ok && len(path) == 1 {
			f, notes := foundFrom(at, up)
			for _, n := range notes {
				r.warn("%s: upstream %s: %s", at.file, shown(f.Name), n)
			}
			found = append(found, f)
			return
		}
		name := d.GetName()
		if p := d.GetParameters(); strings.HasSuffix(name, "_pass") && len(p) > 0 {
			target := unquote(p[0].GetValue())
			up := strings.ToLower(passedTo(target))
			users[up] = append(users[up], at.file+": "+name+" "+target)
		}
	}
	if err := r.readTree(path); err != nil {
		return nil, r.warnings, err
	}
	seen := map[string]string{}
	for i := range found {
		low := strings.ToLower(found[i].Name)
		found[i].Users = users[low]
		if where, twice := seen[low]; twice {
			r.warn("%s: upstream %s: the name is already in %s, nginx refuses that", found[i].File, shown(found[i].Name), where)
		}
		seen[low] = found[i].File
	}
	return found, r.warnings, nil
}

// passedTo takes the host out of what a *_pass directive names: "http://NAME/path", "grpc://NAME", "NAME".
func passedTo(target string) string {
	if _, rest, ok := strings.Cut(target, "://"); ok {
		target = rest
	}
	host, _, _ := strings.Cut(target, "/")
	return host
}

func foundFrom(at place, up *config.Upstream) (Found, []string) {
	f := Found{Name: unquote(up.UpstreamName), File: at.file}
	var notes []string
	// gonginx gives a block the line of its end; the scan's line holds where the name is there once and all braces match.
	if lines := at.scan.upstreams[f.Name]; len(lines) == 1 && at.scan.trouble == "" {
		f.Line = lines[0]
	}
	for _, d := range up.Directives {
		words := []string{d.GetName()}
		for _, p := range d.GetParameters() {
			words = append(words, unquote(p.GetValue()))
		}
		line := strings.Join(words, " ")
		switch {
		case words[0] == "keepalive" && len(words) == 2:
			n, err := strconv.Atoi(words[1])
			if err != nil || n < 0 {
				notes = append(notes, fmt.Sprintf("keepalive %s is no number", shown(words[1])))
				continue
			}
			f.Keepalive = n
		case words[0] == "zone" && len(words) > 1:
			f.Zone = strings.Join(words[1:], " ")
		case words[0] != "random" && methods[line], words[0] == "random", words[0] == "hash":
			f.Method = line
		default:
			f.Other = append(f.Other, line)
			notes = append(notes, fmt.Sprintf("the directive %s has no counterpart in tidegate", shown(line)))
		}
	}
	for _, s := range up.UpstreamServers {
		fs, ns := foundServer(s)
		f.Servers = append(f.Servers, fs)
		notes = append(notes, ns...)
	}
	return f, notes
}

func foundServer(s *config.UpstreamServer) (FoundServer, []string) {
	f := FoundServer{Weight: 1}
	var notes []string
	for i, p := range s.GetParameters() {
		word := unquote(p.GetValue())
		weight, isWeight := strings.CutPrefix(word, "weight=")
		switch {
		case i == 0:
			f.Address = word
			if err := validateAddress(word); err != nil {
				notes = append(notes, fmt.Sprintf("server %s is not an ip:port or unix:/path; tidegate needs one", shown(word)))
			}
		case isWeight:
			n, err := strconv.Atoi(weight)
			if err != nil || n < 1 {
				notes = append(notes, fmt.Sprintf("server %s: weight %s is no number from 1", shown(f.Address), shown(weight)))
				continue
			}
			f.Weight = n
		case word == "down":
			f.Down = true
		case word == "backup":
			f.Backup = true
		default:
			f.Params = append(f.Params, word)
		}
	}
	return f, notes
}
