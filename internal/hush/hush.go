package hush

import (
	"io"
	"log"
	"os"
)

func init() { log.SetOutput(io.Discard) }

// Over lets the standard log speak again; main calls it first.
func Over() { log.SetOutput(os.Stderr) }
