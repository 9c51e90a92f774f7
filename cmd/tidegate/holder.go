package main

import (
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/supervise"
	"github.com/tidegate/tidegate/conf"
)

// holdCommandName is what `ps` shows of a holder: "tidegate hold-listener APP".
const holdCommandName = "hold-listener"

// holdListenerCommand is started by an agent, not by people.
func holdListenerCommand() *cobra.Command {
	return &cobra.Command{
		Use: holdCommandName + " APP", Short: "Keep an app's listener for the next agent (started by an agent)", Hidden: true,
		Args: cobra.ExactArgs(1),
		RunE: func(*cobra.Command, []string) error { return supervise.Hold() },
	}
}

// supervised turns a section of the configuration into the options of its adapter.
func supervised(c conf.AgentApp) supervise.Options {
	p := c.Processes
	least, most := c.Bounds()
	return supervise.Options{
		Name: c.Name, StateDir: p.StateDir, Listen: p.Listen, SocketMode: p.SocketMode, Command: p.Command, Directory: p.Directory,
		User: p.User, Group: p.Group, EnvFile: p.EnvFile, Umask: int(p.Umask), Log: p.Log,
		StopSignal: unix.SignalNum("SIG" + p.StopSignal), StopDeadline: p.StopDeadline, IdleZero: p.IdleZero,
		Ready: supervise.Readiness{Notify: p.Notify, After: p.ReadyAfter}, StartDeadline: p.StartDeadline, Min: least, Max: most,
		// The running binary, also after an upgrade has put another one in its place.
		Holder: []string{"/proc/self/exe", holdCommandName, c.Name},
	}
}
