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
		agentDrain("drain", "Take an app on this node out of service: it finishes what it has and gets no new requests", true),
		agentDrain("undrain", "Put an app on this node back into service", false),
	}
}

func agentDrain(name, short string, drain bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " APP", Short: short, Args: cobra.ExactArgs(1),
		Long: short + `.

The agent remembers it, and over its own restart where the configuration has a state_dir. tidegate takes the server out
step by step at its next turns, never below what has to stay; HAProxy's agent-check is told at once.`,
	}
	var shown agent.TLS
	url := cmd.Flags().String("url", "", "where the agent answers; without it, the configuration's listen")
	cmd.Flags().StringVar(&shown.Cert, "cert", "", "PEM certificate to show an agent that wants one")
	cmd.Flags().StringVar(&shown.Key, "key", "", "its key")
	file := cmd.Flags().StringP("config", "c", "", "the agent's configuration file")
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err) // the flag was defined a line above
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := conf.LoadAgent(*file)
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
