package harness

import (
	"fmt"
	"strings"
	"time"
)

// PHPFPMProgram is php-fpm as Debian 12 calls it.
const PHPFPMProgram = "php-fpm8.2"

// PHPFPM is a running php-fpm master.
type PHPFPM struct {
	*Proc
	// Conf is the path of its configuration, PIDFile that of its pid.
	Conf, PIDFile string
}

// StartPHPFPM writes text to NAME.conf after a global section with the pid file and runs php-fpm with it in the foreground.
// text begins with further lines of the global section; in it {{DIR}} stands for the rig's folder. Everything that a pool
// listens at must be listening when it returns, so wait names those addresses, "host:port" or "unix:/path".
func (r *Rig) StartPHPFPM(name, text string, wait ...string) (*PHPFPM, error) {
	f := &PHPFPM{PIDFile: r.Path(name + ".pid")}
	text = fmt.Sprintf("[global]\npid = %s\nerror_log = %s\ndaemonize = no\n%s", f.PIDFile, r.Path(name+"-error.log"),
		strings.ReplaceAll(text, "{{DIR}}", r.Dir))
	var err error
	if f.Conf, err = r.Write(name+".conf", text); err != nil {
		return nil, err
	}
	if f.Proc, err = r.Start(name, nil, PHPFPMProgram, "--nodaemonize", "--fpm-config", f.Conf); err != nil {
		return nil, err
	}
	for _, addr := range wait {
		if err := WaitListening(addr, 15*time.Second); err != nil {
			return f, fmt.Errorf("%w\n%s", err, f.Log())
		}
	}
	return f, nil
}
