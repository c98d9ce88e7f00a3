"""Commands from recorded tags to a served model, one module each; every ``add`` puts its parser among the others."""
