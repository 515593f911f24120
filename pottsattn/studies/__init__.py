"""Questions asked of several rooms: the bridge, the plan, the sweep."""
