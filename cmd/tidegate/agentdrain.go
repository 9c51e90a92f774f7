package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/conf"
)

// drainCommands are what a person on the node tells its agent.
func drainCommands() []*cobra.Command {
	return []*cobra.Command{
		agentDrain("drain", "Take an app on this node out of service: it finishes what it has and gets no new requests", `
The agent remembers it, and over its own restart where the configuration has a state_dir. tidegate takes the server out
step by step at its next turns, never below what has to stay; HAProxy's agent-check is told at once.`, true),
		agentDrain("undrain", "Put an app on this node back into service", `
tidegate may use the server again from its next turn on, as the load asks for it; HAProxy's agent-check is told at once.`, false),
	}
}

func agentDrain(name, short, long string, drain bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " -c FILE APP", Short: short, Args: oneApp,
		Long: short + ".\n" + long,
	}
	var shown agent.TLS
	url := cmd.Flags().String("url", "", "where the agent answers: unix:/path or a `URL`; without it, the configuration's listen")
	cmd.Flags().StringVar(&shown.Cert, "cert", "", "`FILE` of the PEM certificate to show an agent with tls.client_ca")
	cmd.Flags().StringVar(&shown.Key, "key", "", "`FILE` of its key")
	file := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := file()
		if err != nil {
			return err
		}
		c, err := conf.LoadAgent(path)
		if err != nil {
			return err
		}
		client, err := ownAgent(c, *url, shown)
		if err != nil {
			return err
		}
		r, err := client.SetDrain(cmd.Context(), args[0], drain)
		if err != nil {
			return err
		}
		state := "in service as far as this node is concerned"
		if r.Drained {
			state = fmt.Sprintf("drained by hand; %d of its requests are in progress", r.Busy)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0], state)
		return err
	}
	return cmd
}

// oneApp asks for the name of one app.
func oneApp(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	return fmt.Errorf("%s needs the name of one APP, as the agent's configuration has it; %d are given", cmd.CommandPath(), len(args))
}

// ownAgent is a client for the agent with this configuration. Where it speaks TLS, its own certificate is trusted, and shown
// stands for the certificate and key to show it.
func ownAgent(c *conf.Agent, url string, shown agent.TLS) (*agent.Client, error) {
	o := agent.ClientOptions{URL: url, Token: c.Token.Reveal(), Timeout: 5 * time.Second}
	if c.TLS != nil {
		shown.CA = c.TLS.Cert
		o.TLS = &shown
	}
	switch {
	case o.URL != "":
	case strings.HasPrefix(c.Listen, "unix:"):
		o.URL = c.Listen
	case c.TLS != nil:
		o.URL = "https://" + c.Listen
	default:
		o.URL = "http://" + c.Listen
	}
	return agent.NewClient(o)
}
