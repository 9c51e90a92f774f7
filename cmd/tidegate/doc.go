// Command tidegate keeps just enough of a fixed fleet in service behind HAProxy and nginx.
//
// This package only wires: one file per subcommand, adapters between the rooms in adapt.go, exit codes in main.go.
package main
