//! Who answers? Links to servers, of every transport and era.
