package nginxgen

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// Dump asks nginx itself, `nginx -T`, for the configuration that begins with the file main: each file that nginx reads,
// after a line "# configuration file NAME:". refused is "" or what nginx says against the configuration, and then there is
// no dump. The error means that nginx could not be asked. An empty binary is "nginx". Like every test of a configuration it
// opens the logs that are configured; an empty pid file that it makes is taken away again.
func Dump(ctx context.Context, binary, main string) (dump, refused string, err error) {
	if binary == "" {
		binary = "nginx"
	}
	n := nginx{binary: binary, main: main}
	path, err := n.find()
	if err != nil {
		return "", "", err
	}
	if set, err := n.settings(ctx); err == nil {
		defer guardPidFile(set.pidFile)()
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, n.args("-T")...)
	// nginx writes the dump to the one and its words to the other. What is longer than all that tidegate reads is cut.
	out, said := &output{limit: maxUserTotal + maxUserTotal/8}, &output{limit: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, said
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", "", fmt.Errorf("run nginx -T: %w", ctx.Err())
	case broken(err):
		return "", "", fmt.Errorf("run nginx -T: %w", err)
	case err != nil:
		return "", judge(said.String(), err).text, nil
	}
	return out.String(), "", nil
}
