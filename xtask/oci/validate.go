// What `oci-runtime-tool validate` checks, of one bundle: Debian has the library without its command, and that would fetch
// the schema from the network. Prints one line for each thing that is wrong and exits with 1.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-tools/validate"
	"github.com/xeipuuv/gojsonschema"
)

func main() {
	bundle, schema := os.Args[1], os.Args[2]
	validator, err := validate.NewValidatorFromPath(bundle, false, "linux")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	wrong := against(schema, filepath.Join(bundle, "config.json"))
	for _, check := range []func() error{
		validator.CheckPlatform, validator.CheckRoot, validator.CheckMandatoryFields, validator.CheckSemVer,
		validator.CheckMounts, validator.CheckProcess, validator.CheckLinux, validator.CheckAnnotations, validator.CheckHooks,
	} {
		if err := check(); err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				line = strings.TrimLeft(strings.TrimSpace(line), "* ")
				if line != "" && !strings.HasSuffix(line, "error occurred:") && !strings.HasSuffix(line, "errors occurred:") {
					wrong = append(wrong, line)
				}
			}
		}
	}
	for _, line := range wrong {
		fmt.Println(line)
	}
	if len(wrong) > 0 {
		os.Exit(1)
	}
}

// The file itself is looked at, not what the library's types kept of it.
func against(schema, config string) (wrong []string) {
	text, err := os.ReadFile(config)
	if err != nil {
		return []string{err.Error()}
	}
	var document interface{}
	if err := json.Unmarshal(text, &document); err != nil {
		return []string{err.Error()}
	}
	result, err := gojsonschema.Validate(
		gojsonschema.NewReferenceLoader("file://"+schema), gojsonschema.NewGoLoader(document))
	if err != nil {
		return []string{err.Error()}
	}
	for _, said := range result.Errors() {
		wrong = append(wrong, said.String())
	}
	return wrong
}
