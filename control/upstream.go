package control

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/core"
)

// webUpstream fills in what changes: the weights of the servers that are steered, and what names stand for. A server whose name
// stands for nothing yet has no address. Two names that stand for one address are one server to nginx: the first has it.
func (s Setup) webUpstream(app *App, servers []core.WebServer) WebUpstream {
	u := app.Upstream
	u.Servers = make([]WebServer, 0, len(app.Upstream.Servers))
	weights := make(map[string]int, len(servers))
	for _, w := range servers {
		weights[w.Server] = w.Weight
	}
	taken := map[string]bool{}
	for _, w := range app.Upstream.Servers {
		if w.Address = s.resolved(w.Address); taken[w.Address] {
			continue
		}
		taken[w.Address] = w.Address != ""
		if !w.Backup && !w.Down {
			w.Weight = weights[w.Name]
		}
		u.Servers = append(u.Servers, w)
	}
	return u
}

// nameTrouble says what is wrong with names, in one sentence each.
func (s Setup) nameTrouble() error {
	var texts []string
	if err := s.Names.Trouble(); err != nil {
		texts = append(texts, err.Error())
	}
	for i := range s.Apps {
		first := map[string]string{}
		for _, w := range s.Apps[i].Upstream.Servers {
			at := s.resolved(w.Address)
			switch other := first[at]; {
			case at == "":
			case other != "":
				texts = append(texts, fmt.Sprintf("the servers %s and %s of %s are both at %s: the second is left out of nginx", other, w.Name, s.Apps[i].Policy.Name, at))
			default:
				first[at] = w.Name
			}
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}
