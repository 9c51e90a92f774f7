package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/signals"
)

// playNode runs the node agent for applications given as NAME=PIDFILE=MARKS until its input ends. "profile PATH" begins
// a CPU profile and "stop" ends it.
func playNode(listen string, apps []string) error {
	o := agent.Options{Node: "n1", Listen: listen, Log: slog.New(slog.DiscardHandler)}
	for _, text := range apps {
		f := strings.Split(text, "=")
		if len(f) != 3 {
			return fmt.Errorf("%q is not NAME=PIDFILE=MARKS", text)
		}
		o.Apps = append(o.Apps, agent.App{Name: f[0], Min: 1, Max: 100, Source: filemarks.New(f[2]),
			Actuator: signals.NewGunicorn(f[1], 1, 100)})
	}
	a, err := agent.New(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	fmt.Println("ready")
	var profile *os.File
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, path, _ := strings.Cut(in.Text(), " ")
		switch verb {
		case "profile":
			if profile, err = os.Create(path); err == nil {
				err = pprof.StartCPUProfile(profile)
			}
			if err != nil {
				cancel()
				return errors.Join(err, <-done)
			}
			fmt.Println("started")
		case "stop":
			pprof.StopCPUProfile()
			fmt.Println("stopped", profile.Close())
		}
	}
	cancel()
	return errors.Join(in.Err(), <-done)
}

// playStatic answers every request with the content of a file until its input ends.
func playStatic(socket, file string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})}
	go func() { _ = srv.Serve(ln) }()
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, srv.Close())
}

// playLister lists folders ten times a second and does nothing with it, until its input ends: what any agent that counts
// marks pays at least.
func playLister(dirs []string) error {
	go func() {
		buf := make([]byte, 64<<10)
		for range time.Tick(100 * time.Millisecond) {
			for _, dir := range dirs {
				fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
				for n := 1; n > 0 && err == nil; {
					n, err = syscall.Getdents(fd, buf)
				}
				if err == nil {
					err = syscall.Close(fd)
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, "list", dir, err)
					os.Exit(1)
				}
			}
		}
	}()
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
