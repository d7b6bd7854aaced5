"""The presets shipped with the package: one TOML file for each rung of the ladder."""
