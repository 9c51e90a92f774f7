package agent

import (
	"context"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/tidegate/tidegate/internal/quiet"
)

const (
	// checkTimeout bounds one answer to HAProxy's agent-check.
	checkTimeout = 2 * time.Second
	// checkConns bounds the answers at once; HAProxy asks one server once per agent-inter.
	checkConns = 64
)

// checkAnswer is what HAProxy's agent-check (its manual, section 5.2, "agent-check") is told of an application: the weight
// in percent of the configured one, by the free workers' share of all the node may have.
//
// 1 % is the least for a server that serves, because 0 % takes it out: that is for one that a person has drained. Where the
// counts are not known, or are too old, "up" alone leaves the weight as it is.
func checkAnswer(r AppReport) string {
	switch {
	case r.Drained:
		return "up 0%\n"
	case !r.Known || r.SampleAge() > staleAfter || r.Max < 1:
		return "up\n"
	}
	free := math.Max(0, float64(r.Ready)-r.BusyMean)
	percent := math.Round(100 * free / float64(r.Max))
	return fmt.Sprintf("up %.0f%%\n", math.Min(100, math.Max(1, percent)))
}

// answerChecks answers on ln until ctx ends.
func (a *app) answerChecks(ctx context.Context, ln net.Listener, log *quiet.Log) {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	slots := make(chan struct{}, checkConns)
	for {
		slots <- struct{}{}
		c, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return
		}
		if err != nil {
			log.Warn("check "+a.cfg.Name, "HAProxy's agent-check cannot be answered", "app", a.cfg.Name, "error", err)
			<-slots
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		go func() {
			defer func() { <-slots }()
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(checkTimeout))
			// HAProxy asks again when this one fails.
			_, _ = c.Write([]byte(checkAnswer(a.report(time.Now()))))
		}()
	}
}

// listenChecks opens the listeners of the applications that have one.
func (a *Agent) listenChecks() (map[*app]net.Listener, error) {
	lns := map[*app]net.Listener{}
	for _, app := range a.apps {
		if app.cfg.Check == "" {
			continue
		}
		ln, err := net.Listen("tcp", app.cfg.Check)
		if err != nil {
			for _, other := range lns {
				_ = other.Close()
			}
			return nil, fmt.Errorf("listen for HAProxy's agent-check of %s: %w", app.cfg.Name, err)
		}
		lns[app] = ln
	}
	return lns, nil
}
