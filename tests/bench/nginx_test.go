package main

import (
	"bytes"
	"testing"

	"github.com/tidegate/tidegate/nginxgen"
)

// The limit writes what is rendered, byte for byte, or it is no limit.
func TestFormattingWritesTheSameBytes(t *testing.T) {
	m := webModel(4, 12)
	text, err := nginxgen.Render(m)
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := bytes.Cut(text, []byte("\nupstream"))
	if got := formatted(m, header); !bytes.Equal(got, text) {
		t.Fatalf("formatted:\n%s\nrendered:\n%s", got, text)
	}
}
