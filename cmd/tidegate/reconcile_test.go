package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

// Reloads in the middle of changes: no change is lost and no server is left half-way. TIDEGATE_RELOADS says how many.
func TestReconcileReloadsAmongChanges(t *testing.T) {
	t.Parallel()
	reloads := 25
	if n, err := strconv.Atoi(os.Getenv("TIDEGATE_RELOADS")); err == nil {
		reloads = n
	}
	k := startKeeper(t, "", "")
	r := rand.New(rand.NewPCG(1, 2))
	left := 0
	for i := range reloads {
		after := fmt.Sprintf("reload %d", i+1)
		moved := fmt.Sprint("s", 1+r.IntN(slots))
		var changed []string
		k.order(50+(i*37)%150, func(serve map[string]bool) {
			// The limiter lets as many leave within a minute as there are; one less is asked for.
			if serve[moved] && (left >= slots/3 || len(serve) < 3) {
				return
			}
			if serve[moved] {
				left++
				delete(serve, moved)
			} else {
				serve[moved] = true
			}
			changed = []string{moved}
		})
		time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond) // anywhere within a turn
		if err := k.h.Reload(); err != nil {
			t.Fatal(err)
		}
		k.secondTick(after, changed...)
		k.settle(after)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.applied < reloads {
		t.Errorf("%d batches for %d reloads: the changes did not meet them", k.applied, reloads)
	}
}

// HAProxy dies while a batch is on its way.
func TestReconcileKillInTheMiddleOfAnApply(t *testing.T) {
	t.Parallel()
	k := startKeeper(t, "", "")
	for i := range 5 {
		died := make(chan struct{})
		k.mu.Lock()
		k.onApply = func() {
			go func() {
				time.Sleep(time.Duration(i) * 200 * time.Microsecond)
				k.h.Kill()
				close(died)
			}()
		}
		k.mu.Unlock()
		k.order(70+10*i, func(serve map[string]bool) { serve[fmt.Sprint("s", 7+i)] = true })
		select {
		case <-died:
		case <-time.After(20 * time.Second):
			t.Fatal("no batch went out")
		}
		if err := k.h.Restart(); err != nil {
			t.Fatal(err)
		}
		after := fmt.Sprintf("kill %d", i+1)
		k.secondTick(after, fmt.Sprint("s", 7+i))
		k.settle(after)
	}
}

// Another HAProxy takes the socket's place; and a while without any socket changes nothing.
func TestReconcileSocketReplaced(t *testing.T) {
	t.Parallel()
	k := startKeeper(t, "", "")
	before, _ := k.last()
	cfg, err := os.ReadFile(k.rig.Path("haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := k.rig.StartHAProxy("second", string(cfg))
	if err != nil {
		t.Fatal(err)
	}
	second.Socket = k.h.Socket
	k.h = second
	err = harness.WaitFor("the other process at the socket", 20*time.Second, func() bool {
		now, _ := k.last()
		return now.Process != before.Process
	})
	if err != nil {
		t.Fatal(err)
	}
	k.secondTick("another process took the socket")
	k.settle("another process took the socket")

	if err := os.Rename(k.h.Socket, k.h.Socket+".away"); err != nil {
		t.Fatal(err)
	}
	k.order(90, nil)
	_, n := k.last()
	time.Sleep(time.Second) // ten turns without a socket
	if _, now := k.last(); now > n+1 {
		t.Errorf("%d observations without a socket", now-n)
	}
	if err := os.Rename(k.h.Socket+".away", k.h.Socket); err != nil {
		t.Fatal(err)
	}
	k.settle("the socket came back")
}

// stateFile makes HAProxy load the servers' state from a file; dump writes it, as an operator's reload hook does.
const stateFile, loadState = "    server-state-file {{DIR}}/state", "    load-server-state-from-file global"

// A state file of the moment, and one that tells of old times.
func TestReconcileStateFile(t *testing.T) {
	t.Parallel()
	k := startKeeper(t, stateFile, loadState)
	k.dump()
	reload := func() {
		t.Helper()
		if err := k.h.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	reload()
	if wrong := k.wrong(k.observations(1)[0]); len(wrong) > 0 {
		t.Errorf("a state file of the moment did not bring the state back: %v", wrong)
	}
	k.settle("a reload with a state file")

	// The file grows old: another weight, s1 out, s7 in.
	k.order(110, func(serve map[string]bool) { delete(serve, "s1"); serve["s7"] = true })
	k.settle("a change")
	reload()
	if v := k.observations(1)[0].Backends["shop"].Servers["s1"]; v.Admin != core.AdminReady {
		t.Fatalf("the old state file was to bring s1 back into service, it is %+v", v)
	}
	// s1 takes traffic again by then, so it drains before it is parked.
	k.secondTick("a reload with an old state file", "s1")
	k.settle("a reload with an old state file")
}

// What a human did stays, also over a reload that keeps it.
func TestReconcileKeepsWhatAHumanDid(t *testing.T) {
	t.Parallel()
	k := startKeeper(t, stateFile, loadState)
	k.human("set server shop/s1 state maint", "set server shop/s2 weight 33", "set server shop/s3 state drain")
	kept := func(when string) {
		t.Helper()
		k.turns(5)
		if a, b, c := k.server("s1"), k.server("s2"), k.server("s3"); a.Admin != core.AdminMaint || a.Weight == 0 || b.Weight != 33 || c.Admin != core.AdminDrain {
			t.Errorf("%s: s1 %+v, s2 %+v, s3 %+v", when, a, b, c)
		}
		k.settle(when, "s1", "s2", "s3")
	}
	kept("the human's commands")
	k.dump()
	if err := k.h.Reload(); err != nil {
		t.Fatal(err)
	}
	k.observations(2)
	kept("a reload with a state file")
	k.order(120, nil)
	kept("another change")
	k.human("set server shop/s1 state ready", "set server shop/s3 state ready", "set server shop/s2 weight 120")
	k.settle("the human let go")
}

// A connection that stays with the old worker is recognised, and no command goes there.
func TestReconcileOldWorkersAreNeverCommanded(t *testing.T) {
	t.Parallel()
	k := startKeeper(t, "", "")
	old, err := haproxy.New(haproxy.Options{Addr: "unix:" + k.h.Held(t, 3)})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := k.h.Reload(); err != nil {
		t.Fatal(err)
	}
	p := proxyAdapter{client: old}
	if _, err := p.Observe(context.Background(), []string{"shop"}); err == nil || !strings.Contains(err.Error(), "is stopping") {
		t.Errorf("an old worker was observed as if it were in charge: %v", err)
	}
	_, err = p.Apply(context.Background(), []control.ProxyStep{{Backend: "shop", Server: "s1", Kind: core.SetWeight, Value: 1}})
	if !errors.Is(err, haproxy.ErrStopping) || errors.Is(err, haproxy.ErrUnknown) {
		t.Errorf("a step for an old worker: %v, want that nothing was sent", err)
	}
	k.settle("a reload")
}
