package nginxgen_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "as-root" {
		os.Exit(askRoot(os.Args[2], os.Args[3]))
	}
	goleak.VerifyTestMain(m)
}
